# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Runs artifacts of the TBQ compiler: runtime/tbq.h for Python. Needs numpy.

    model = tbq_runtime.Model("model.so")
    logits = tbq_runtime.evaluate(model, model.tokenize("Once upon a time"))  # [tokens, vocab]
    for text in tbq_runtime.generate(model, "Once upon a time", limit=100):
        print(text, end="", flush=True)

Classes:
    Model(path, verify_weights=False, huge_pages=False): manifest_json, vocab, context, max_batch,
        first_token (or None), has_tokenizer, has_chat, is_end(token), tokenize(text), detokenize(tokens),
        render_chat([(role, content), ...])
    Session(model, threads=0, context=0, sequences=1): eval(tokens) appends tokens; eval_all(tokens)
        also gives float32 logits [tokens, vocab]; logits, float32 [vocab] after the last token or
        None; sample(sampler) chooses from those, on a GPU much faster than from a copy; position,
        context, threads; rollback(position). Of several sequences, at most the
        model's max_batch, select(number) says which one all that is about, and
        eval_batch(numbers, tokens) appends a token to each: float32 logits [tokens, vocab]
    Sampler(model, temperature=, top_k=, top_p=, min_p=, repeat_penalty=, repeat_last=, seed=0):
        sample(logits), accept(token), reset(); what is not given is the model's own
    Stream(model, keep_special=False): push(token) and finish() give the text that is complete
    Error: a RuntimeError; its message names file, field and value, its status is a Status

What a call gives is a copy and the caller's. A session may be shared by threads, which then wait
for each other; a sampler or a stream may not.
"""

from .native import Error, Model, Sampler, Session, Status, Stream, version

__all__ = [
    "Error", "Model", "Sampler", "Session", "Status", "Stream",
    "choose", "evaluate", "generate", "version",
]  # fmt: skip


def evaluate(model, tokens, threads=0):
    """The logits after each token of a new sequence, float32 [tokens, vocab]."""
    return Session(model, threads).eval_all(tokens)


def choose(model, prompt, limit=None, threads=0, **sampling):
    """Yields the tokens that continue `prompt` (text or tokens), at most `limit`.

    Ends before an end token and where the context is full. `sampling` goes to Sampler.
    """
    tokens = model.tokenize(prompt) if isinstance(prompt, str) else list(prompt)
    session = Session(model, threads)
    sampler = Sampler(model, **sampling)
    for token in tokens:
        sampler.accept(token)
    made = 0
    while limit is None or made < limit:
        if made and session.position == session.context:
            return
        session.eval(tokens)
        token = session.sample(sampler)
        if model.is_end(token):
            return
        sampler.accept(token)
        yield token
        tokens = [token]
        made += 1


def generate(model, prompt, limit=None, threads=0, **sampling):
    """Yields the text that continues `prompt`, as `choose` does its tokens, in whole characters."""
    stream = Stream(model)
    tokens = model.tokenize(prompt) if isinstance(prompt, str) else list(prompt)
    for token in tokens:
        stream.push(token)
    for token in choose(model, tokens, limit, threads, **sampling):
        yield stream.push(token)
    yield stream.finish()
