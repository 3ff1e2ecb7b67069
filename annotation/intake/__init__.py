"""What product teams send all day, without Django's views and ORM: answers and reactions, thousands a second.

`front` speaks HTTP, `shapes` says what a request may hold, `reading` takes it apart, `events` and `answers` make rows
of it, `writer` commits what waits together. A reply that says `stored` is sent after the COMMIT.
"""
