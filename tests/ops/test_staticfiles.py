"""Static files: hashed names, also inside ES modules and CSS, and nothing that is missing."""

import json
import re

import pytest
from django.core.management import call_command

from redpen.env import REPOSITORY

IMPORT = re.compile(r"""^(?:import|export)\b[^;(]*?["'](\.[^"']+)["']""", re.MULTILINE)


@pytest.fixture(scope="module")
def collected(tmp_path_factory):
    from django.conf import settings
    from django.test import override_settings

    folder = tmp_path_factory.mktemp("static")
    storages = {
        **settings.STORAGES,
        "staticfiles": {"BACKEND": "redpen.ops.staticfiles.HashedStaticFiles"},
    }
    with override_settings(STATIC_ROOT=folder, STORAGES=storages):
        call_command("collectstatic", interactive=False, verbosity=0)
    return folder


@pytest.fixture(scope="module")
def manifest(collected):
    return json.loads((collected / "staticfiles.json").read_text())["paths"]


def test_modules_import_each_other_under_hashed_names(collected, manifest):
    """Else a browser would mix the modules of two releases."""
    seen = 0
    for name, hashed in manifest.items():
        if not (name.startswith("js/") and name.endswith(".js")):
            continue
        module = collected / hashed
        for target in IMPORT.findall(module.read_text()):
            seen += 1
            assert re.search(r"\.[0-9a-f]{12}\.js$", target), f"{name} imports {target}"
            assert (module.parent / target).exists(), f"{name} imports {target}, which is not there"
    assert seen > 0


def test_no_module_is_loaded_dynamically():
    """The storage would leave its plain name in place. In a comment it is a type."""
    for path in (REPOSITORY / "frontend" / "static" / "js").rglob("*.js"):
        code = re.sub(r"/\*.*?\*/", "", path.read_text(), flags=re.DOTALL)
        assert not re.search(r"\bimport\(", re.sub(r"//.*", "", code)), path


def test_every_file_of_ours_is_in_the_manifest(manifest):
    static = REPOSITORY / "frontend" / "static"
    ours = {
        str(path.relative_to(static)) for path in static.rglob("*") if path.is_file() and not path.name.startswith(".")
    }
    assert ours <= set(manifest)


def test_nothing_in_our_css_or_modules_points_to_another_host(collected, manifest):
    for name, hashed in manifest.items():
        if name.startswith(("css/", "js/")):
            text = (collected / hashed).read_text()
            assert not re.search(r"(?:url\(|from |import\()\s*[\"']?(?:https?:)?//", text), name


def test_templates_carry_nothing_inline_that_the_policy_refuses():
    for template in (REPOSITORY / "frontend" / "templates").rglob("*.html"):
        text = template.read_text()
        assert not re.search(r"<[^>]+\sstyle=", text), template
        assert not re.search(r"<[^>]+\son[a-z]+=", text), template
        assert "<style" not in text, template
        for script in re.findall(r"<script\b[^>]*>", text):
            assert "src=" in script or 'type="application/json"' in script, (template, script)
