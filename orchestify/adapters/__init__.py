"""An agent of the registry as the model of another framework, in the same process.

Each framework speaks OpenAI's protocol through a client that it lets its user give. `transport.py`
is that client's transport: it answers from an agent, with no network between, so that budgets,
fallbacks and the ledger hold for what the framework does. `openai_agents.py`, `pydantic_ai.py` and
`langchain.py` (an extra each) put it into the framework's own model class.

Other rooms import from: none.
"""
