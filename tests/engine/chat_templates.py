"""Chat templates of the kinds that people bring, as short as shows the behaviour: written for these tests, not the
models' own files.
"""

from training.engine.tiny import make_tokenizer

TEXTS = ["The cat sat on the moon. She said hello, and good day to you.", "Be brief. Think. user assistant model"] * 20

# name -> (special tokens beside pad, the end of sequence, the template)
KINDS = {
    "chatml": (
        ["<|im_start|>", "<|im_end|>", "<|endoftext|>"],
        "<|endoftext|>",  # a base model's; its chats close with <|im_end|>
        """{% if messages[0].role != 'system' %}{{ '<|im_start|>system\nYou help.<|im_end|>\n' }}{% endif %}
{%- for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}""",
    ),
    "qwen3": (  # thinks, and drops the thinking of earlier turns; puts an empty block before a last answer without one
        ["<|im_start|>", "<|im_end|>"],
        "<|im_end|>",
        """{% set ns = namespace(last=-1) %}{% for m in messages %}{% if m.role == 'user' %}
{%- set ns.last = loop.index0 %}{% endif %}{% endfor %}
{%- for m in messages %}{% if m.role == 'assistant' %}{% set said = m.content %}{% set thought = '' %}
{%- if '</think>' in said %}{% set thought = said.split('</think>')[0].split('<think>')[-1].strip('\n') %}
{%- set said = said.split('</think>')[-1].lstrip('\n') %}{% endif %}
{{- '<|im_start|>assistant\n' }}
{%- if loop.index0 > ns.last %}{{ '<think>\n' + thought + '\n</think>\n\n' }}{% endif %}{{ said + '<|im_end|>\n' }}
{%- else %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endif %}{% endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}
{%- if enable_thinking is defined and not enable_thinking %}{{ '<think>\n\n</think>\n\n' }}{% endif %}{% endif %}""",
    ),
    "llama3": (  # trims every message, and writes the date
        ["<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"],
        "<|eot_id|>",
        """{{ '<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\n' }}
{{- 'Today: ' + strftime_now('%d %b %Y') + '\n' }}
{%- if messages[0].role == 'system' %}{{ messages[0].content | trim }}{% set messages = messages[1:] %}{% endif %}
{{- '<|eot_id|>' }}
{%- for m in messages %}
{{- '<|start_header_id|>' + m.role + '<|end_header_id|>\n\n' }}
{%- if m.tool_calls %}{{ m.tool_calls[0].function | tojson }}{% else %}{{ m.content | trim }}{% endif %}
{{- '<|eot_id|>' }}{% endfor %}
{%- if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}""",
    ),
    "gemma": (  # no system role, roles must alternate, an answer is the "model"'s
        ["<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>"],
        "<eos>",
        """{{ '<bos>' }}
{%- if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}
{%- for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}
{{- raise_exception('Roles must alternate') }}{% endif %}{% set who = 'model' if m.role == 'assistant' else m.role %}
{{- '<start_of_turn>' + who + '\n' + m.content | trim + '<end_of_turn>\n' }}{% endfor %}
{%- if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}""",
    ),
    "mistral": (  # no generation prompt, a space before each answer, a system message that is silently left out
        ["<s>", "</s>", "[INST]", "[/INST]"],
        "</s>",
        """{{ '<s>' }}{% for m in messages %}{% if m.role == 'user' %}{{ '[INST] ' + m.content + ' [/INST]' }}
{%- elif m.role == 'assistant' %}{{ ' ' + m.content | trim + '</s>' }}{% endif %}{% endfor %}""",
    ),
    "phi3": (  # the whole conversation is closed once more at its end
        ["<|user|>", "<|assistant|>", "<|system|>", "<|end|>", "<|endoftext|>"],
        "<|endoftext|>",
        """{% for m in messages %}{{ '<|' + m.role + '|>\n' + m.content + '<|end|>\n' }}{% endfor %}
{%- if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ '<|endoftext|>' }}{% endif %}""",
    ),
    "glm": (  # an answer is closed by the next role's marker
        ["[gMASK]", "<|user|>", "<|assistant|>", "<|system|>", "<|endoftext|>"],
        "<|endoftext|>",
        """{{ '[gMASK]' }}{% for m in messages %}{{ '<|' + m.role + '|>\n' + m.content }}{% endfor %}
{%- if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}""",
    ),
}
GOOD = [kind for kind in KINDS if kind != "glm"]


def tokenizer_of(kind, template=None):
    """A small byte-level tokenizer with a kind's special tokens and its template."""
    specials, eos, own = KINDS[kind]
    tokenizer = make_tokenizer(TEXTS, vocabulary=320)
    tokenizer.add_special_tokens({"additional_special_tokens": specials, "eos_token": eos})
    tokenizer.chat_template = template or own
    return tokenizer
