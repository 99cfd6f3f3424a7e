// The types are in simt.h, which comes before every text.
