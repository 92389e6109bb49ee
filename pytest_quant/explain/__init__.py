"""Why a gate failed, and what would mend it."""
