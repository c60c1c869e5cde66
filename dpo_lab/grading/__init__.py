"""Grade many submissions by people who can't all be trusted.

A parent process holds the tests, the expected answers and the known mistakes. Before it loads them it forks a zygote,
which knows none of this; the zygote forks one limited child a notebook. The child runs the student's definitions on the
inputs that it is sent and answers with plain values as JSON. What it says is a claim: the parent judges.

Like `dpo_lab.course`, on which it stands, this package finds the library's functions by name and knows no other thing
about them.
"""
