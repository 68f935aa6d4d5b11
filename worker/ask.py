"""Ask a model with and without an adapter, through plain transformers and peft: nothing of this project is imported.

Reads {"model": folder, "adapter": folder, "prompts": [{"text": …, "chat": true}], "tokens": 32} from standard input
and writes {"base": [reply, …], "adapted": [reply, …]} to standard output. Replies are greedy.
"""

import json
import sys
from typing import Any

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer


def ask(model: Any, tokenizer: Any, prompt: dict[str, Any], tokens: int) -> str:
    """The greedy reply to one prompt: a chat turn, or a text to be continued."""
    text, templated = prompt["text"], prompt.get("chat", True) and tokenizer.chat_template
    if templated:
        turn = [{"role": "user", "content": text}]
        text = tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True)
    # a template spells the token that a text begins with; a bare text gets it from the tokenizer
    coded = tokenizer(text, add_special_tokens=not templated, return_tensors="pt")
    with torch.no_grad():
        out = model.generate(**coded, max_new_tokens=tokens, do_sample=False, pad_token_id=tokenizer.eos_token_id)
    return str(tokenizer.decode(out[0, coded["input_ids"].shape[1] :], skip_special_tokens=True)).strip()


def main() -> None:
    """Load, ask twice, print."""
    request = json.load(sys.stdin)
    tokenizer = AutoTokenizer.from_pretrained(request["model"])
    base: Any = AutoModelForCausalLM.from_pretrained(request["model"], dtype=torch.float32, use_safetensors=True)
    adapted: Any = PeftModel.from_pretrained(base, request["adapter"])
    prompts, tokens = request["prompts"], int(request.get("tokens", 32))
    with adapted.disable_adapter():
        before = [ask(adapted, tokenizer, prompt, tokens) for prompt in prompts]
    after = [ask(adapted, tokenizer, prompt, tokens) for prompt in prompts]
    json.dump({"base": before, "adapted": after}, sys.stdout)


if __name__ == "__main__":
    main()
