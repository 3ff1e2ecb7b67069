"""Files of feedback come in here. `registry.FORMATS` lists the formats; `base.run` imports a stream."""
