//! The floor: what sealing and sending the same packets costs without a server around it.
