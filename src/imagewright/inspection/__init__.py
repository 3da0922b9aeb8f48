"""What prepare found, in words and pictures: counts, tables of what is wrong, pictures, the page that shows them."""
