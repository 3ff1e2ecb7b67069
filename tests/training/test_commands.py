"""`manage.py recipes` and `manage.py base_model`."""

import json

import pytest
from django.core.management import CommandError, call_command

from redpen.accounts.models import AuditEvent
from training.actions import base_models
from training.models import BaseModel
from training.queries.models import base_models as all_base_models


def test_recipes_are_listed_one_a_line(capsys):
    call_command("recipes", "--names")
    names = capsys.readouterr().out.splitlines()
    assert names == sorted(names)
    assert {"raft", "span_reward_model"} <= set(names)
    call_command("recipes", "--json")
    assert {card["name"] for card in json.loads(capsys.readouterr().out)} == set(names)


def test_the_models_in_the_box_are_always_there(db, capsys):
    assert {base.name for base in all_base_models()} == {"smollm2-135m", "tiny"}
    call_command("base_model", "ensure")
    call_command("base_model", "list")
    assert "smollm2-135m\tsmollm2-135m\tnot looked at yet" in capsys.readouterr().out
    assert BaseModel.objects.count() == 2


def test_a_folder_is_looked_at_in_a_child_and_registered(db, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(base_models, "look_at", lambda location: {"parameters": 1234567, "refused": None})
    call_command("base_model", "add", str(tmp_path), "--name", "mine")
    assert "mine: 1,234,567 parameters, ready." in capsys.readouterr().out
    base = BaseModel.objects.get(name="mine")
    assert (base.source, base.location) == ("folder", str(tmp_path))
    assert AuditEvent.objects.get().action == "base_model.added"
    monkeypatch.setattr(base_models, "look_at", lambda location: {"refused": "it has no chat template."})
    with pytest.raises(CommandError, match="no chat template"):
        call_command("base_model", "add", str(tmp_path), "--name", "other")
    assert not BaseModel.objects.filter(name="other").exists()


def test_what_was_found_out_about_its_template_is_said_and_what_is_trained_is_shown(db, capsys, tmp_path, monkeypatch):
    mask = [["user: Hello there. assistant: ", False], ["Good day.<|im_end|>", True]]
    report = {"parameters": 5, "refused": None, "notes": ["This template has no system role."], "mask": mask}
    monkeypatch.setattr(base_models, "look_at", lambda location: report)
    call_command("base_model", "add", str(tmp_path), "--name", "mine")
    said = capsys.readouterr().out
    assert "- This template has no system role." in said
    assert "user: Hello there. assistant: [[Good day.<|im_end|>]]" in said


def test_what_is_no_model_is_refused_with_its_reason(db, tmp_path):
    with pytest.raises(CommandError, match="neither a folder"):
        call_command("base_model", "add", "nowhere")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(CommandError, match="cannot be trained on: .*cannot be loaded"):
        call_command("base_model", "add", str(tmp_path))
