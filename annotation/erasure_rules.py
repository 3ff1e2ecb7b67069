"""What becomes of every column of annotation's tables that may hold words or names, when a product's user is erased.

A new column needs its rule here (tests/annotation/test_erasing_rules.py); `WITH_THE_ROW` is tried out by a test that
plants phrases in all of them.
"""

from __future__ import annotations

from annotation import models as tables
from annotation.erasure import Rule, columns

WITH_THE_ROW, SCRUBBED, BY_AGE, NOT_THEIRS = Rule.WITH_THE_ROW, Rule.SCRUBBED, Rule.BY_AGE, Rule.NOT_THEIRS

# what all feedback has: it goes with the user who said it, or with the answer that it is about
RECORD = "origin agent external_user metadata end_reason client_key prefill prefill_outcome"
ON_ANSWER = f"{RECORD} part"

columns(tables.Prompt, WITH_THE_ROW, "messages context metadata external_id content_hash split")
columns(
    tables.Response,
    WITH_THE_ROW,
    "text thinking steps origin model sampling external_id parent_external_id conversation external_user language "
    "metadata token_ids token_logprobs",
)
columns(tables.Reaction, WITH_THE_ROW, f"{RECORD} response_external_id external_id text spans")
columns(tables.SpanCritique, WITH_THE_ROW, f"{ON_ANSWER} quote critique replacement")
columns(tables.Evidence, WITH_THE_ROW, "passage sentences quote")
columns(tables.Critique, WITH_THE_ROW, f"{ON_ANSWER} text verdict")
columns(tables.Preference, WITH_THE_ROW, f"{RECORD} choice dimension reason shown_first")
columns(tables.Ranking, WITH_THE_ROW, f"{RECORD} places dimension reason")
columns(tables.Choice, WITH_THE_ROW, f"{RECORD} offered reason")
columns(tables.Rating, WITH_THE_ROW, f"{ON_ANSWER} dimension")
columns(tables.Rewrite, WITH_THE_ROW, ON_ANSWER)
columns(tables.Outcome, WITH_THE_ROW, f"{ON_ANSWER} action result stage")
columns(tables.Comment, WITH_THE_ROW, f"{ON_ANSWER} text")
columns(tables.Skip, WITH_THE_ROW, f"{ON_ANSWER} reason text")
columns(tables.Report, WITH_THE_ROW, f"{ON_ANSWER} reason text")
columns(tables.Task, WITH_THE_ROW, "kind state priority_reason")
columns(tables.Assignment, WITH_THE_ROW, "agent state draft")
columns(tables.ProductUser, WITH_THE_ROW, "name tapped versions said caps reasons")
columns(tables.LeftOut, WITH_THE_ROW, "name")
columns(tables.Exposure, WITH_THE_ROW, "external_user model slices kinds")
columns(tables.LiveEvent, WITH_THE_ROW, "external_user model")
columns(tables.LiveSlice, WITH_THE_ROW, "name value")
columns(tables.WebhookDelivery, WITH_THE_ROW, "event event_id keys payload state error")

columns(tables.ImportJob, SCRUBBED, "report")
columns(tables.ImportJob, NOT_THEIRS, "format filename path state error")
columns(tables.KeyedRequest, BY_AGE, "operation key")
columns(tables.Erasure, NOT_THEIRS, "who agent counts report waits_for")
columns(tables.Erasure, SCRUBBED, "gone")  # emptied when the files are done

columns(tables.Act, NOT_THEIRS, "kind agent")
columns(tables.Campaign, NOT_THEIRS, "name state")
columns(tables.CampaignVersion, NOT_THEIRS, "guidelines labels")
columns(tables.Question, NOT_THEIRS, "kind text config")
columns(tables.LabelSet, NOT_THEIRS, "name")
columns(tables.Label, NOT_THEIRS, "key name description shortcut")
columns(tables.ReactionKind, NOT_THEIRS, "key name")
columns(tables.IntakeSettings, NOT_THEIRS, "user_secret redact slices retention_days")
columns(tables.IntakeCount, NOT_THEIRS, "operation outcome code")
columns(tables.Webhook, NOT_THEIRS, "name url events secret old_secret disabled_reason")
columns(tables.ProjectCount, NOT_THEIRS, "slices")
columns(tables.RateCell, NOT_THEIRS, "grain slice model value")  # how many, of nobody in particular
