"""Parts that help trying and testing Backhaul; shipped, and never imported by the agent."""
