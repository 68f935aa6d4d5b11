"""Webhooks (Standard Webhooks): endpoints, the outbox of what they are to be told, and the courier that tells them."""
