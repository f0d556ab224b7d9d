"""What a model is asked, and how to read such a request back.

`opening.py` has the turn that opens an attempt, and reads it; `judging.py` the one that has answers
compared; `follow_up.py` the turns after an answer that cannot be used as it is; `shown.py` shows
files and texts within bounds, so that nothing in them can be taken for the prompt's own words.
"""
