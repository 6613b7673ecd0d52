import { Module } from '@nestjs/common';
import { CycleModule } from '../cycle/cycle.module.js';
import { StatusModule } from '../status/status.module.js';
import { SyncController } from './sync.controller.js';

@Module({ imports: [CycleModule, StatusModule], controllers: [SyncController] })
export class ApiModule {}
