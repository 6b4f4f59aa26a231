"""The Discord bot: commands in, clips out, reactions into ratings. Needs no torch."""
