"""What each side makes of the same text: which tokens, and which of them are trained."""

import pytest
from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer

from tests.engine.parity import peer
from tests.engine.parity.rows import PAIRS, chat
from training.engine.chats import render_completion, render_conversation
from training.engine.tiny import TEMPLATE as CLOSES_WITH_A_LINE

# TRL looks for `{% generation %}` around what an assistant says, its stop token included.
MARKED = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>\\n' }}"
    "{% if message['role'] == 'assistant' %}"
    "{% generation %}{{ message['content'] + '<|end|>' }}{% endgeneration %}"
    "{% else %}{{ message['content'] + '<|end|>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}"
)
CONVERSATION = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Where is my parcel?"},
    {"role": "assistant", "content": "On its way."},
    {"role": "user", "content": "Since Monday?"},
    {"role": "assistant", "content": "Since Tuesday."},
]


def prepared(trainer, config, start, folder, record, *, template=None, **options):
    """The first row that TRL's trainer makes of a record."""
    more = {} if template is None else {"template": template}
    made = peer.make_trainer(trainer, start, peer.settings(config, folder, **options), [record], **more)
    return made.train_dataset[0], made.processing_class


def trained(row):
    return [label != -100 for label in row["labels"]]


def test_every_answer_of_a_conversation_is_what_trl_finds_by_generation_marks(start, tmp_path):
    record = {"messages": CONVERSATION}
    theirs, tokenizer = prepared(
        SFTTrainer, SFTConfig, start, tmp_path, record, template=MARKED, assistant_only_loss=True
    )
    mine = render_conversation(tokenizer, CONVERSATION)
    assert theirs["input_ids"] == mine.ids
    assert trained(theirs) == mine.completion_mask


@pytest.mark.parametrize(
    ("prompt", "completion"),
    [
        ("Where is my parcel? ", "On its way."),
        ("I left the dep", "ot on Monday."),  # the border is within what is one token of the whole
        ("No", ""),
    ],
)
def test_plain_text_is_parted_where_trl_parts_it(start, tmp_path, prompt, completion):
    record = {"prompt": prompt, "completion": completion}
    theirs, tokenizer = prepared(SFTTrainer, SFTConfig, start, tmp_path, record)
    mine = render_completion(tokenizer, prompt, completion)
    assert theirs["input_ids"] == mine.ids
    assert trained(theirs) == mine.completion_mask
    if completion.startswith("ot"):
        assert mine.completion_mask.index(True) < len(tokenizer(prompt)["input_ids"])


def test_a_pair_that_merges_at_the_border_is_parted_at_the_earlier_place_by_trl_and_in_each_row_by_us(start, tmp_path):
    """TRL has one prompt for both answers, so a token that only one of them merges counts as trained in the other."""
    record = {"prompt": "I left the dep", "chosen": "ot on Monday.", "rejected": " on Monday."}
    theirs, tokenizer = prepared(DPOTrainer, DPOConfig, start, tmp_path, record)
    chosen, rejected = (render_completion(tokenizer, record["prompt"], record[side]) for side in ("chosen", "rejected"))
    assert theirs["prompt_ids"] + theirs["chosen_ids"] == chosen.ids
    assert theirs["prompt_ids"] + theirs["rejected_ids"] == rejected.ids
    assert chosen.completion_ids == theirs["chosen_ids"]
    merged = len(theirs["rejected_ids"]) - len(rejected.completion_ids)
    assert merged > 0
    assert rejected.completion_ids == theirs["rejected_ids"][merged:]


def test_trl_trains_what_the_template_writes_after_the_stop_token_and_we_do_not(start, tmp_path):
    """Many templates close an answer with a line break that no sampler ever gets to: ours ends at the stop token."""
    record = {"prompt": PAIRS[0].prompt, "completion": [{"role": "assistant", "content": PAIRS[0].chosen}]}
    theirs, tokenizer = prepared(SFTTrainer, SFTConfig, start, tmp_path, record, template=CLOSES_WITH_A_LINE)
    mine = chat(tokenizer, PAIRS[0], PAIRS[0].chosen)
    line = tokenizer("\n")["input_ids"]
    assert theirs["input_ids"] == [*mine.ids, *line]
    assert [label for label in theirs["labels"] if label != -100] == [*mine.completion_ids, *line]
