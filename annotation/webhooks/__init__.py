"""Telling receivers what happened: `outbox` writes due rows, `pump` claims and sends them, `sending` talks HTTP."""
