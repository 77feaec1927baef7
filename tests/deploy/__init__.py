"""What lies in deploy/: units, alerts, the dashboard."""
