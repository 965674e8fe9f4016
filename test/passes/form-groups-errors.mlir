// RUN: v4-opt %s --v4-form-groups=strategy=best --verify-diagnostics

// expected-error @below {{unknown fusion strategy 'best'; accepted: none, basic}}
module {}
