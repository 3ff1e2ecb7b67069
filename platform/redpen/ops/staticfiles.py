"""Static files under names that carry a hash of their content, so that releases never mix."""

from whitenoise.storage import CompressedManifestStaticFilesStorage


class HashedStaticFiles(CompressedManifestStaticFilesStorage):
    """Writes hashed names into CSS and into ES modules' import statements too: `import { a } from "./offsets.js"` works
    in the source folder as it stands and in production, without a bundler and without an (inline) import map."""

    support_js_module_import_aggregation = True
