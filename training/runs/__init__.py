"""How a run is carried out: who holds it (`lease`), its child (`child`, `events`), its end (`outcome`): `worker`."""
