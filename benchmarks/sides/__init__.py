"""What the measuring scripts start in processes of their own."""
