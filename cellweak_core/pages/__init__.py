"""Pages of the book that are made from data: scoreboard, errata, API, and the copy that is rendered."""
