"""Static files under names that carry a hash of their content, so that releases never mix."""

from whitenoise.storage import CompressedManifestStaticFilesStorage

(SCRIPTS, (*STATIC_IMPORTS, _dynamic)) = CompressedManifestStaticFilesStorage._js_module_import_aggregation_patterns


class HashedStaticFiles(CompressedManifestStaticFilesStorage):
    """Writes hashed names into CSS and into the import statements of ES modules: `import { a } from "./offsets.js";`
    works in the source folder as it stands and in production, without a bundler and without an (inline) import map.

    Dynamic imports are left out: what looks like one in our modules is a type in a comment, and types may be circular.
    """

    support_js_module_import_aggregation = True
    _js_module_import_aggregation_patterns = (SCRIPTS, tuple(STATIC_IMPORTS))
    # a module's hash depends on those of the modules that it imports: a pass for each step of the longest chain
    max_post_process_passes = 30
