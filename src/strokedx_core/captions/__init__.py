"""What a lesion is, in measured findings and in words that rest on them."""
