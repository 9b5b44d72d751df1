//! bulk_and_relay
