"""The guest's screen, keyboard, mouse and serial consoles in a browser: a page, and what it is served by."""
