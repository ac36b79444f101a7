"""What a store holds, whether it is whole, and what nobody needs any more."""
