/* The records of one caller, found by the hash of a call; the oldest is dropped first. */
#ifndef EINLOOM_TABLE_H
#define EINLOOM_TABLE_H

#include "record.h"

enum { MAX_RECORDS = 1024 /* of one table */ };

typedef struct {
    Py_ssize_t n_records, n_buckets;
    Record **buckets;
    Record *oldest, *youngest;
} Table;

/* Return the record of a call, NULL if there is none. */
Record *table_find(const Table *table, const Call *call);

/* Add a record, and own it; return -1 with an error set. */
int table_add(Table *table, Record *record);

/* Drop all records, and the memory they were in. */
void table_clear(Table *table);

#endif
