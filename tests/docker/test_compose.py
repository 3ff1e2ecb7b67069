"""docker-compose.yml and the Dockerfile, without a container engine: against the schema, and against our own code."""

import json
import re
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft7Validator

from redpen.env import Environment

REPOSITORY = Path(__file__).resolve().parent.parent.parent
COMPOSE = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text())
OURS = [name for name, service in COMPOSE["services"].items() if service["image"] == "redpen"]


def test_the_compose_file_is_valid_by_the_compose_specification():
    schema = json.loads((Path(__file__).parent / "compose-spec.json").read_text())
    problems = [f"{list(error.path)}: {error.message}" for error in Draft7Validator(schema).iter_errors(COMPOSE)]
    assert problems == []


def test_the_schema_does_refuse_what_is_wrong():
    schema = json.loads((Path(__file__).parent / "compose-spec.json").read_text())
    assert list(Draft7Validator(schema).iter_errors({"services": {"web": {"imagee": "redpen"}}}))


def test_every_part_that_the_design_names_is_there():
    expected = {"postgres", "redis", "web", "worker", "worker-train", "worker-gpu", "scheduler", "model-server"}
    assert expected <= set(COMPOSE["services"])
    assert COMPOSE["services"]["postgres"]["image"].startswith("postgres:18")
    assert COMPOSE["services"]["worker-gpu"]["profiles"] == ["gpu"]


@pytest.mark.parametrize("name", OURS)
def test_each_service_sets_only_settings_that_exist(name):
    assert set(COMPOSE["services"][name]["environment"]) <= set(Environment.model_fields)


@pytest.mark.parametrize("name", sorted(COMPOSE["services"]))
def test_each_lasting_service_has_a_health_check_or_says_why_not(name):
    service = COMPOSE["services"][name]
    inherited = service["image"] == "redpen"  # the image has one, for the web
    assert "healthcheck" in service or inherited


def test_each_queue_has_a_worker():
    from redpen.celery import app

    served = {
        service["command"][service["command"].index("-Q") + 1]
        for service in COMPOSE["services"].values()
        if "-Q" in (service.get("command") or [])
    }
    assert served == {queue.name for queue in app.conf.task_queues}


def test_the_image_does_not_run_as_root_and_checks_its_health():
    lines = (REPOSITORY / "docker" / "Dockerfile").read_text()
    assert re.findall(r"^USER (\S+)", lines, re.MULTILINE)[-1] == "redpen"
    assert "HEALTHCHECK" in lines
    assert len(re.findall(r"^FROM ", lines, re.MULTILINE)) == 2


def test_the_image_carries_everything_that_the_code_imports():
    copied = re.findall(r"^COPY (\S+) \1$", (REPOSITORY / "docker" / "Dockerfile").read_text(), re.MULTILINE)
    assert set(copied) == {"platform", "annotation", "training", "frontend", "clients/web"}
