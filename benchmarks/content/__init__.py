"""Content at size: 1,000 sites of 20 pages, what each request costs in SQL, and how soon a publish is seen
elsewhere.
"""
