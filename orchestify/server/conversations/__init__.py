"""What is kept of conversations: encrypted, each tenant's own, for a time, and until DELETE.

Read `kept` first: how long, how much, and where. `memory` holds it in this process, `redis` for
all processes that share one.
"""

from orchestify.server.conversations.kept import RESPONSES, KeptConversations

__all__ = ["RESPONSES", "KeptConversations"]
