"""The verbs. Each public one is one transaction; none of them sees JSON or a request."""
