"""Cases made from findings and notices: deadlines, notifications of customers, and removal."""
