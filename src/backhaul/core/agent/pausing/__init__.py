"""Messages of paused routes: kept hidden without a slot until their route is resumed."""
