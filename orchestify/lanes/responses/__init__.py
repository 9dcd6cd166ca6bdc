"""OpenAI's Responses, as OpenAI and those who speak it take and send it.

Read `lane` first; `request` writes the body, `answer` reads events and whole answers, `native`
passes through requests and answers in the protocol's own words. Only `lane` is for others.
"""
