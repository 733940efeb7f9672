"""Results in the forms that other programs read: FCS, HL7 v2, FHIR."""
