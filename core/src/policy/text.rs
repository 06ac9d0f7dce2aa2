//! Placeholder for the policy's text forms.
