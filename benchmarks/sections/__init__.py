"""What is measured, one file for each section. A section yields samples and knows no contender's name."""
