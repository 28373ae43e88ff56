"""What customers are worth: retention, return, cohorts, lifetime value, tiers, and whether predicted churn holds."""
