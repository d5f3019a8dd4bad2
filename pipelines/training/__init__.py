"""The one training loop and what it trains on; knows neither models nor tasks."""
