"""KPIs: what is measured, how events become numbers, and how sure those are."""
