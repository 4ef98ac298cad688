"""What a message wants: its text read, judged by the policy, given records."""
