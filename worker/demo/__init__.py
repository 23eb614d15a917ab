"""`siem up --demo`: the whole product on one machine, with receivers of its own and sample events."""
