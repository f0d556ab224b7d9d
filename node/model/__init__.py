"""The simulated model: an OpenAI-compatible endpoint that answers from a book of worked answers.

It exists so that the whole path of an agent (client, retry, reading, checking, repair, cost) runs
without a key. Everything it says is labelled as simulated; it never invents an answer.
"""
