"""The same kernel on a card and on the emulator: within tolerance always, bit for bit where both compute alike."""
