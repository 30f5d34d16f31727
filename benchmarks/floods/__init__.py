"""What a neighbour notices of a flood of expensive requests."""
