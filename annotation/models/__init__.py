"""Everything that people say about answers, as tables."""

from annotation.models.campaigns import Assignment, Campaign, CampaignVersion, Label, LabelSet, Question, Task
from annotation.models.counting import CountingCursor, Exposure, LiveEvent, LiveSlice, ProjectCount, RateCell
from annotation.models.honesty import HonestyCursor, LeftOut, ProductUser
from annotation.models.imports import ImportJob
from annotation.models.intake import IntakeCount, IntakeSettings, KeyedRequest
from annotation.models.judgements import Choice, Critique, Outcome, Preference, Ranking, Rating, Rewrite
from annotation.models.privacy import Erasure
from annotation.models.prompts import Prompt, Response
from annotation.models.reactions import Reaction, ReactionKind, TakenBack
from annotation.models.records import Act, EndReason, FeedbackRecord, Origin, PrefillOutcome
from annotation.models.spans import Evidence, SpanCritique
from annotation.models.talk import Comment, Report, Skip
from annotation.models.webhooks import Webhook, WebhookDelivery

__all__ = [
    "Act",
    "Assignment",
    "Campaign",
    "CampaignVersion",
    "Choice",
    "Comment",
    "CountingCursor",
    "Critique",
    "EndReason",
    "Erasure",
    "Evidence",
    "Exposure",
    "FeedbackRecord",
    "HonestyCursor",
    "ImportJob",
    "IntakeCount",
    "IntakeSettings",
    "KeyedRequest",
    "Label",
    "LabelSet",
    "LeftOut",
    "LiveEvent",
    "LiveSlice",
    "Origin",
    "Outcome",
    "Preference",
    "PrefillOutcome",
    "ProductUser",
    "ProjectCount",
    "Prompt",
    "Question",
    "Ranking",
    "RateCell",
    "Rating",
    "Reaction",
    "ReactionKind",
    "Report",
    "Response",
    "Rewrite",
    "Skip",
    "SpanCritique",
    "TakenBack",
    "Task",
    "Webhook",
    "WebhookDelivery",
]
