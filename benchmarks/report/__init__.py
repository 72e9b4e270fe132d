"""What a run leaves behind: raw numbers with their setting, tables, and pictures made from the numbers."""
