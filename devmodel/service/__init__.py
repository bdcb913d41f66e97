"""The trio shell: a board is served to a core, time is paced, commands are answered."""
